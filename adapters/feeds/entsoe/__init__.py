"""The ENTSO-E transparency platform: day-ahead prices of all coupled European zones; a security token is needed."""
