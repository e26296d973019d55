"""The most that a visitor may give to the demo, and may ask of it."""

MAX_UPLOAD_BYTES = 20_000_000  # all files of an upload together
MAX_UNPACKED_BYTES = 200_000_000  # of a zip or a parquet file
MAX_STORED_BYTES = 300_000_000  # the images of an upload as PNG, as they are kept
MAX_RATIO = 200  # unpacked to packed bytes of an entry of a zip
MAX_FILES = 5_000  # an upload, packed or not
MAX_TABLE_ROWS = 200_000  # of a table, of which MAX_ROWS are drawn
MAX_COLUMNS = 500  # of a table
MAX_ROWS = 2_000  # kept of an upload
MAX_CLASSES = 200
MAX_CLASS_CHARACTERS = 100  # of a class's name
MAX_TEXT_CHARACTERS = 20_000
MAX_PIXELS = 16_000_000  # an image
MAX_TOTAL_PIXELS = 1_000_000_000  # decoded for an upload

MAX_MODEL_PARAMETERS = 150_000_000
MAX_DOWNLOAD_BYTES = 700_000_000
MIN_SAMPLES = 50
MAX_SAMPLES = 1_000  # of a data set, in a run
MAX_SECONDS = 120  # a run
