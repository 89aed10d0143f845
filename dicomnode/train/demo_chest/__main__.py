"""``python -m dicomnode.train.demo_chest``."""

from dicomnode.train.demo_chest.script import main

raise SystemExit(main())
