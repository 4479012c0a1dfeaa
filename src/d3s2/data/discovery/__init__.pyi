from .looking import look as look
from .picture import picture_of_pairs as picture_of_pairs
from .records import Findings as Findings
from .write import data_set_file as data_set_file
from .write import in_comment as in_comment
from .write import list_files as list_files
from .write import masks_text as masks_text
from .write import written as written
