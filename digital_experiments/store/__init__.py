"""A folder of records, blobs, artefacts and pointers: its layout, formats and blobs."""
