"""The day of a community at the least cost: sparse arrays in, schedules, trades and prices out.

The fast twin of `fairwatt.models.community_day`, which says the same model as text.
"""

from __future__ import annotations

from fairwatt.planner._orders import book, firm_orders, orders
from fairwatt.planner._plan import Plan, Schedule, Timings, plan

__all__ = ["Plan", "Schedule", "Timings", "book", "firm_orders", "orders", "plan"]
