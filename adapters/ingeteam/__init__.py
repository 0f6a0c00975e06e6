"""Ingeteam INGECON SUN inverters and the EMS beside them, on the site's own network; they can be watched only."""
