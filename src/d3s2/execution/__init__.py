"""Where work runs: this process, or processes of this machine."""
