
imagepath"
"