"""Clients as a counterparty would write them: REST, FIX and streams. The smoke test and the order flow use them."""
