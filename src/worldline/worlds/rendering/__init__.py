"""From a described world to photos: ray casting, shading, the camera's effects."""
