"""Commands that show what runs, and change nothing: a cell's answers flow in, tables and lines flow out."""
