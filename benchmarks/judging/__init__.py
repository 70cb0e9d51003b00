"""Every cheat and every honest server, asked over HTTP as contests ask, and judged."""
