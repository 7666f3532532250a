"""From files to decoded images: places, formats, pairs of image and mask, and the local cache."""
