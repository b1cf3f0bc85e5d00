"""Marathon's REST API (1.11): requests in its words come in, answers in its shapes go out."""
