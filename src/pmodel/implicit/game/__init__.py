"""The game that adversarial pairs play: losses, penalties, changes of pictures, packing, and the pair itself."""
