
label"c