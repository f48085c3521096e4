# `cmake --install` gives a tree that runs from anywhere.
