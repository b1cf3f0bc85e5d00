"""What a person types: flags that commands share, names of apps and tasks, topics, and what was wrong with it."""
