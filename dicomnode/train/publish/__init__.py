"""What a training becomes: a bundle, its card, its model file."""
