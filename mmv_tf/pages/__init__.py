"""HTML, SVG and pictures, which know nothing of MMV."""
