"""`python -m resque`, and so `accelerate launch -m resque …`."""

from resque.cli import main

main()
