"""Questions to the views, each at a block: what the API, the pages and the command line show."""
