"""Files and what stands in them: written completely or not at all, read with every failure as a sentence."""
