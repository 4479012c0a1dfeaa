from .join import do_share as do_share
from .join import join_run as join_run
