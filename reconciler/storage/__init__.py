"""Checkpoints and logs in a folder that every host of a target reaches.

disk/       the one seam to the file system, with a real and an unkind fake one
layout      which path holds what
keyring     signing keys and wrapping keys by name and id          keys      reading and making key files
packs       frames of compressed, encrypted bytes in pack files    index     which unit of which file lies in which frame
manifest    what an image says about itself, signed                pipeline  stages that work side by side
sink        receives an image and publishes it                     parent    what the parent image has already
image       a complete image, opened                               export    its files in a folder
prune       planned deletion, and what crashes left                logs      log bytes of attempts
path        the store, from the parts above                        fake      the same promises in memory
"""
