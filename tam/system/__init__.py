"""Files, locks, signals: what the system does. Imports only errors, and knows no token."""
