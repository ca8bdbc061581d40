"""The teacher: true target frames from still photos (see `render.Teacher`)."""
