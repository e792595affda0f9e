"""Run folders: what lies in one, who works in one, and what makes two runs one. Needs no torch."""
