"""From a TRL or alignment-handbook configuration of supervised fine-tuning to a recipe; nothing in it vanishes unsaid."""

from hfrecipes.recipe.port.convert import Note, Ported, port_file

__all__ = ["Note", "Ported", "port_file"]
