"""Attribution: which parts of an image a network's output depends on."""
