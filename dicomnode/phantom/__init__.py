"""Arrays and truth from a seed: synthetic studies that carry no patient."""
