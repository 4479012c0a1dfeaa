from .ablation_plan import plan_ablation as plan_ablation
from .doctor import examine as examine
from .plan import make_plan as make_plan
from .starting import start as start
