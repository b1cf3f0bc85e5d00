"""How commands speak: rows, states and lines go in; what a terminal, a pipe or a machine reads comes out."""
