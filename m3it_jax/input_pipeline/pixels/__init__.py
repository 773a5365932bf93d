"""A picture or video -> the pixels that a vision tower reads."""
