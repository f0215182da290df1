"""Virtual machines for the tests: images from recipes, machines, sticks to plug and yank."""
