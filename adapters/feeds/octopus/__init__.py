"""Octopus Energy's Agile tariffs: what a kWh costs and, with a second product, what it earns, by half-hours."""
