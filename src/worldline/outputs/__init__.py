"""A scene made visible and readable elsewhere: exports, pictures, viewer."""
