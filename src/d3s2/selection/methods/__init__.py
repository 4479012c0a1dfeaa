"""Ways to choose masks, a file each; each fills a `Shortlist` by its `offer`."""
