"""Novel views: photos held out of a reconstruction, rendered from it at their true cameras (docs/novel_views.md)."""
