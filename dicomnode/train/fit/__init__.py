"""The training: recipes, tasks, the loop, its checkpoints."""
