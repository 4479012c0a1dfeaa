from .fit import fit_everything as fit_everything
