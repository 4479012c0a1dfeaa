"""Published models: what is known of them, which revision is here, and how their files are loaded safely."""
