"""Files on disk and on the hub: mapped reading, atomic writing, locks, downloads."""
