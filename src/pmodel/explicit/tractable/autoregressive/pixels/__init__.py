"""Pictures in raster order: PixelCNN and PixelRNN.

``raster.py`` is what they share as models. A network (``network.py``; ``gated``, ``plain``, ``recurrent``) gives each pixel
features of the earlier ones, ``outputs.py`` turns features into a distribution of the pixel's channels, and ``writing.py``
draws pixel by pixel from what a network has kept.
"""
