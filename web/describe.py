"""Writes the server's OpenAPI description, from which the page's types are made."""

import json
import sys
from pathlib import Path

from fairlead.api.app import create_app
from fairlead.config import Settings

json.dump(create_app(Settings(home=Path("unused"))).openapi(), sys.stdout)
