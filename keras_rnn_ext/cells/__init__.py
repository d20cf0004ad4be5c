"""One file per recurrence: its equations, its cell, its two-line layer. Nothing else."""
