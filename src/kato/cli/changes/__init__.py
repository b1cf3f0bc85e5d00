"""Commands that change what runs, or say what a file would change: files and names go in, wishes go to a cell."""
