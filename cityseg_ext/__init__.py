"""cityseg: street-scene segmentation from colour masks, as a plugin of MMSegmentation.

Configs load the plugin with ``custom_imports = dict(imports=['cityseg_ext.plugin'])``.
"""

__version__ = "0.1.0"
