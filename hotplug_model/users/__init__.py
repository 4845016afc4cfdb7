"""Users of PageReserved(): kernel code that decides something about a page by that flag."""

from __future__ import annotations

from hotplug_model.registry import import_all
from hotplug_model.users.user import IRRELEVANT, USERS, Form, User

__all__ = ["IRRELEVANT", "USERS", "Form", "User"]

import_all(__name__, list(__path__))
