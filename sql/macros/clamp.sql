-- x within lowest and highest. Null stays null, where greatest(0, null) is 0.
create macro clamp(x, lowest, highest) as case when x < lowest then lowest when x > highest then highest else x end
