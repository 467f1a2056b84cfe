"""Checkpoints and logs in a folder that every host of a target reaches.

path        the store, made of the parts below                      fake      the same promises in memory
layout      which path holds what                                   files     small files, and what their errors mean
claims      who owns which attempt                                  leases    which writers live
announced   the files a sink was told about                         names     which files an image may hold
units       extents to pieces, pieces to frames                     digests   of blocks and units
parent      what the parent image has already                       pipeline  stages that work side by side
packs       frames of compressed, encrypted bytes in pack files     index     which unit of which file lies in which frame
sink        receives an image                                       publish   gives it its name, which makes it count
manifest    what an image says about itself, signed                 contents  its bytes, every digest checked
image       a complete image, opened                                export    its files in a folder of this host
opened      stores by their manifest, with the keys as they are now
keyring     signing keys and wrapping keys by name and id           keys      reading and making key files
prune       planned deletion, and what crashes left                 logs      log bytes of attempts
disk/       the one seam to the file system, with a real disk and an unkind fake one
"""
