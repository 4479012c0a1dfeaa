from .table import EXPORTS as EXPORTS
