"""Layers around and beside the recurrent ones."""
