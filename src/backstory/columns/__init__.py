"""Many rows at once: the vectorised row codec, bulk leaves and trees, bulk commitments.

The vectorised twin of `backstory.records.row`, over Arrow arrays and NumPy buffers. Nothing here touches a file.
"""
